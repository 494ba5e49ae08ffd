"""The tables, and the engine they live in."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Engine,
    ForeignKey,
    QueuePool,
    TypeDecorator,
    create_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

TIERS = ("mass", "affluent", "private")
CENT = Decimal("0.01")


class Money(TypeDecorator[Decimal]):
    """An amount with two decimals, stored as cents because SQLite has no decimal type."""

    impl = BigInteger
    cache_ok = True

    @property
    def python_type(self) -> type[Decimal]:
        return Decimal

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: int | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value).scaleb(-2)


class Moment(TypeDecorator[datetime]):
    """A time with its zone, stored in UTC because SQLite keeps no zone."""

    impl = DateTime
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    type_annotation_map = {Decimal: Money, datetime: Moment, list[str]: JSON}  # noqa: RUF012


class Staff(Base):
    __tablename__ = "staff"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    roles: Mapped[list[str]]
    branch: Mapped[str]
    client_id: Mapped[int | None]
    privacy_training: Mapped[date]

    def profile(self) -> dict[str, Any]:
        training = {"privacy": self.privacy_training}
        return {
            "id": self.id,
            "name": self.name,
            "roles": self.roles,
            "branch": self.branch,
            "client_id": self.client_id,
            "training": training,
        }


class Client(Base):
    __tablename__ = "clients"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    mobile: Mapped[str | None] = mapped_column(index=True)
    email: Mapped[str | None]
    id_no: Mapped[str | None] = mapped_column(index=True)
    dob: Mapped[date | None]
    gender: Mapped[str | None]
    tier: Mapped[str] = mapped_column(default="mass")
    branch: Mapped[str | None] = mapped_column(index=True)
    rm_ids: Mapped[list[str]] = mapped_column(default=list)
    address: Mapped[str | None]
    occupation: Mapped[str | None]
    balance: Mapped[Decimal] = mapped_column(default=Decimal("0.00"))
    risk_score: Mapped[float] = mapped_column(default=0.0)
    iban: Mapped[str | None]
    notes: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    cards: Mapped[list["Card"]] = relationship(cascade="all, delete-orphan", order_by="Card.id")
    accounts: Mapped[list["Account"]] = relationship(cascade="all, delete-orphan", order_by="Account.id")
    kin: Mapped[list["Kin"]] = relationship(foreign_keys="Kin.client_id", order_by="Kin.relative_id")


class Card(Base):
    __tablename__ = "cards"
    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"), index=True)
    pan: Mapped[str]
    cvv: Mapped[str]
    expiry: Mapped[str]
    type: Mapped[str]


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"), index=True)
    no: Mapped[str]
    currency: Mapped[str]
    balance: Mapped[Decimal]


class Kin(Base):
    """`relative` is the `relation` of the client: their spouse, parent, child, sibling."""

    __tablename__ = "kin"
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"), primary_key=True)
    relative_id: Mapped[int] = mapped_column(ForeignKey("clients.id"), primary_key=True)
    relation: Mapped[str]
    relative: Mapped[Client] = relationship(foreign_keys=relative_id)


class Visit(Base):
    __tablename__ = "visits"
    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"), index=True)
    at: Mapped[datetime]
    staff_id: Mapped[str]
    place: Mapped[str]
    summary: Mapped[str]


class Complaint(Base):
    __tablename__ = "complaints"
    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int] = mapped_column(ForeignKey("clients.id"), index=True)
    at: Mapped[datetime]
    channel: Mapped[str]
    status: Mapped[str] = mapped_column(default="open")
    text: Mapped[str]


def open_engine(database: str) -> Engine:
    """Open a SQLite file, or `:memory:`, and make the tables that are missing."""
    if database == ":memory:":
        # A database in memory is its connection: one, lent to one session at a time.
        shared = {"check_same_thread": False}
        engine = create_engine(
            "sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, connect_args=shared
        )
    else:
        engine = create_engine(f"sqlite:///{database}")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    Base.metadata.create_all(engine)
    return engine
