"""Words as people type them, in a form in which the same word is the same text: case, accents, inflections, common short forms."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache

# What people in offices write short; the catalogue's own abbreviations are among the aliases of its roles.
SHORT_FORMS = {
    "acct": "account",
    "accts": "accounts",
    "acctg": "accounting",
    "admin": "administration",
    "agt": "agent",
    "assoc": "associate",
    "asst": "assistant",
    "ass": "assistant",
    "biz": "business",
    "bldg": "building",
    "chk": "check",
    "co": "company",
    "coord": "coordinator",
    "coor": "coordinator",
    "cs": "customer service",
    "cust": "customer",
    "dept": "department",
    "dev": "development",
    "dir": "director",
    "doc": "documentation",
    "docs": "documentation",
    "exec": "executive",
    "fin": "finance",
    "gen": "general",
    "govt": "government",
    "hk": "hong kong",
    "info": "information",
    "intl": "international",
    "inv": "inventory",
    "invt": "investment",
    "jr": "junior",
    "jnr": "junior",
    "logs": "logistics",
    "mgmt": "management",
    "mgnt": "management",
    "mgr": "manager",
    "mngr": "manager",
    "mktg": "marketing",
    "mkt": "market",
    "ofc": "office",
    "offr": "officer",
    "ops": "operations",
    "opns": "operations",
    "pax": "passenger guest",
    "pct": "percent",
    "prop": "property",
    "qc": "quality control",
    "recept": "reception",
    "rep": "representative",
    "reps": "representative",
    "resi": "residential",
    "resto": "restaurant",
    "rsvn": "reservation",
    "snr": "senior",
    "spec": "specialist",
    "sr": "senior",
    "sup": "supervisor",
    "supt": "superintendent",
    "supv": "supervisor",
    "svc": "service",
    "tech": "technical",
    "vp": "vice president",
    "whse": "warehouse",
    "wh": "warehouse",
    "w": "with",
}

# Say nothing about what somebody does. Words of rank are in `RANKS`.
COMMON = frozenset(
    """
    a about above after again all also always am an and any are as at be because been before being below between both but by can
    cannot could day daily did do does doing done down during each else etc even every everything few for from further get give go got had
    has have having he help her here hers him his how i if im in including into is it its job just keep kind like look lot main mainly
    make many may me more most mostly much must my myself need new no nor not now of off often on once only or other others our out over
    own part people person please position put related responsible same say see several she should so some sometimes staff such
    sure take task tasks team than that the their them then there these they thing things this those through time to together too under
    until up us use used usually various very want was way we week weekly well were what when where which while who will with within
    work worker working works would year years yes you your currently company companies different good every day role duty duties employee
    member charge incharge under
    """.split()  # noqa: SIM905 - forty lines of quotes and commas would say no more
)

RANKS = frozenset(
    """
    senior junior lead leader head chief principal assistant associate trainee intern graduate apprentice supervisor manager
    director executive vice president officer general deputy team specialist
    """.split()  # noqa: SIM905 - the same
)

_SUFFIXES = (
    *("ations", "ation", "ators", "ator", "ating", "ative", "ments", "ment", "ings", "ing", "ants", "ant", "ists", "ist", "ancy"),
    *("ated", "ates", "ate", "ers", "ors", "er", "or", "ied", "ies", "ed", "es", "s", "ly", "y", "e"),
)
_LEAST_STEM = 4
_DOTTED = re.compile(r"\b(?:[^\W\d_]\.){2,}")
_JOINED = re.compile(r"\b([^\W\d_]{1,2})\s?&\s?([^\W\d_]{1,2})\b|\b([^\W\d_])/([^\W\d_])\b")
_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]+")


def plain(text: str) -> str:
    """NFKC, without case and accents; `F&B`, `A/R` and `G.M.` as one word each."""
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    folded = unicodedata.normalize("NFC", "".join(letter for letter in folded if not unicodedata.combining(letter)))
    folded = _DOTTED.sub(lambda found: found[0].replace(".", ""), folded)
    return _JOINED.sub(lambda found: "".join(part for part in found.groups() if part), folded)


def tokens(text: str) -> list[str]:
    """The words of a text, short forms written out. Scripts that do not space their words give every two letters that stand together."""
    found: list[str] = []
    for word in _WORD.findall(plain(text)):
        if _UNSPACED.search(word):
            found += _pairs(word)
        elif word in SHORT_FORMS:
            # The short form too: it may be an alias in the catalogue, with another meaning.
            found += [*SHORT_FORMS[word].split(), word]
        else:
            found.append(word)
    return found


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """Light: `manager`, `managing` and `management` are one, and no stem has fewer than four letters."""
    for _ in range(2):
        for suffix in _SUFFIXES:
            if word.endswith(suffix) and len(word) - len(suffix) >= _LEAST_STEM:
                word = word.removesuffix(suffix)
                break
        else:
            return word
    return word


def stems(text: str) -> list[str]:
    """The stems of all words but the common ones, in their order."""
    return [stem(word) for word in tokens(text) if word not in COMMON]


def grams(word: str, least: int = 3, most: int = 5) -> Iterator[str]:
    """The character n-grams of a word, its ends marked."""
    marked = f"<{word}>"
    for size in range(least, most + 1):
        for start in range(len(marked) - size + 1):
            yield marked[start : start + size]


class Spelling:
    """Known words by how they are spelled. Two words have in common, 0 to 1, the Dice coefficient of their trigrams."""

    def __init__(self, words: Iterable[str]) -> None:
        self._having: defaultdict[str, list[str]] = defaultdict(list)
        self._sizes: dict[str, int] = {}
        for word in set(words):
            trigrams = set(grams(word, 3, 3))
            self._sizes[word] = len(trigrams)
            for trigram in trigrams:
                self._having[trigram].append(word)

    def alike(self, word: str, least: float) -> list[tuple[str, float]]:
        """The known words that have at least so much in common with this one, the most alike first."""
        trigrams = set(grams(word, 3, 3))
        shared = Counter(known for trigram in trigrams for known in self._having.get(trigram, ()))
        found = ((known, 2 * count / (len(trigrams) + self._sizes[known])) for known, count in shared.items())
        return sorted(((known, likeness) for known, likeness in found if likeness >= least), key=lambda pair: (-pair[1], pair[0]))


def _pairs(run: str) -> list[str]:
    return [run[start : start + 2] for start in range(max(1, len(run) - 1))]
