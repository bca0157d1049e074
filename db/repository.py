"""What every repository is: `get` raises the area's `Missing`, `find` may be None, `add` keeps."""

from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import class_mapper

from domain.errors import Missing

T = TypeVar("T")


class Repository(Generic[T]):
    """One kind of aggregate, through advanced-alchemy's repository over a session that flushes only when the unit of work does."""

    aggregate: ClassVar[type[Any]]
    missing: ClassVar[type[Missing]] = Missing
    _rows_type: ClassVar[type[Any]]
    _by_identity: ClassVar[Select[Any]]

    def __init_subclass__(cls) -> None:
        # Put together once: that takes half as long as all the rest of a `get`.
        [identity] = class_mapper(cls.aggregate).primary_key
        cls._by_identity = select(cls.aggregate).where(identity == bindparam("identity"))
        # Its type variable asks for declarative models; at run time it asks a mapped class for nothing more than a mapper.
        cls._rows_type = type("Rows", (SQLAlchemyAsyncRepository,), {"model_type": cls.aggregate})

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    @cached_property
    def _rows(self) -> Any:
        """Made when it is first used: a unit of work has every repository, and a command needs one or two."""
        return self._rows_type(session=self._session, auto_expunge=False, auto_refresh=False, auto_commit=False, wrap_exceptions=False)

    async def get(self, identity: object) -> T:
        found = (await self._session.execute(self._by_identity, {"identity": identity})).scalar_one_or_none()
        if found is None:
            raise self.missing
        return found

    async def find(self, **equal: object) -> T | None:
        return await self._rows.get_one_or_none(**equal)

    def add(self, aggregate: T) -> None:
        self._session.add(aggregate)
