"""All reads, through one provider: a read replica is one database more here."""

from db.connection import Database
from db.reads.accounts import AccountReads
from db.reads.audit import AuditReads
from db.reads.catalogue import CatalogueReads
from db.reads.catalogue_admin import CatalogueAdminReads
from db.reads.conversations_admin import ConversationAdminReads
from db.reads.feed import FeedReads
from db.reads.funnel import FunnelReads
from db.reads.onboarding import OnboardingReads
from db.reads.operations import OperationReads
from db.reads.practice import PracticeReads
from db.reads.role_search import RoleSearchReads
from db.reads.role_submissions import RoleSubmissionReads
from db.reads.scenarios import ScenarioReads

__all__ = ["Reads"]


class Reads:
    def __init__(self, database: Database) -> None:
        self.accounts = AccountReads(database)
        self.catalogue = CatalogueReads(database)
        self.catalogue_admin = CatalogueAdminReads(database)
        self.role_search = RoleSearchReads(database)
        self.role_submissions = RoleSubmissionReads(database)
        self.feed = FeedReads(database)
        self.funnel = FunnelReads(database)
        self.audit = AuditReads(database)
        self.onboarding = OnboardingReads(database)
        self.operations = OperationReads(database)
        self.scenarios = ScenarioReads(database)
        self.practice = PracticeReads(database)
        self.conversations_admin = ConversationAdminReads(database)
