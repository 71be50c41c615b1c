"""Every credit operation over one pair of stores, put together once a process."""

from proxy.accounts.grants import Grants
from proxy.accounts.journal import Journal
from proxy.accounts.keys import KeyHasher
from proxy.accounts.model_prices import ModelPrices
from proxy.accounts.reconcile import Reconciler
from proxy.accounts.recorded_usage import RecordedUsage
from proxy.accounts.redemption import RedemptionCodes
from proxy.accounts.refunds import Refunds
from proxy.accounts.reservations import Reservations
from proxy.accounts.topups import Topups
from proxy.core.clock import Clock
from proxy.ledger.credit_scripts import CreditScripts
from proxy.ledger.ledger import Ledger
from proxy.ledger.scripts import ScriptRunner
from proxy.sql.database import Database


class Desk:
    """`scripts` runs on the Redis of `ledger`."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        scripts: ScriptRunner,
        clock: Clock,
        *,
        hasher: KeyHasher,
        prices: ModelPrices,
    ) -> None:
        self.credit_scripts = CreditScripts(ledger, scripts)
        self.journal = Journal(database, ledger, self.credit_scripts, clock)
        self.topups = Topups(self.journal)
        self.grants = Grants(self.journal)
        self.refunds = Refunds(self.journal)
        self.codes = RedemptionCodes(self.journal, hasher)
        self.reservations = Reservations(database, ledger, self.credit_scripts, clock)
        self.recorded = RecordedUsage(database, ledger, self.credit_scripts, clock, prices)
        self.reconciler = Reconciler(self.journal, self.recorded, self.reservations)
