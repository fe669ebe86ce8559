"""Everything that a request may need, made once for the process."""

from dataclasses import dataclass

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from console.bell import Bells
from console.catalog import CatalogReader
from console.database import Database
from console.heatmaps import HeatMaps
from console.jobs import JobQueue
from console.keys import KeyRing
from console.metrics import Metrics
from console.settings import ConsoleSettings
from console.store import Store
from console.watch import Watcher


@dataclass(frozen=True, slots=True)
class Services:
    """The process's parts."""

    settings: ConsoleSettings
    database: Database
    store: Store
    queue: JobQueue
    keys: KeyRing
    catalog: CatalogReader
    heatmaps: HeatMaps
    watcher: Watcher
    metrics: Metrics
    limiter: MovingWindowRateLimiter
    limits: tuple[RateLimitItem, ...]

    def close(self) -> None:
        """Lets go of everything."""
        self.watcher.close()
        self.catalog.close()
        self.heatmaps.close()
        self.database.close()


def open_services(settings: ConsoleSettings) -> Services:
    """Makes folders and tables that are missing, and connects."""
    settings.make_dirs()
    database = Database(settings.database)
    database.create()
    bells = Bells(settings.bells_dir)
    store = Store(
        database,
        uploads_dir=settings.uploads_dir,
        results_dir=settings.results_dir,
        max_queued=settings.max_queued,
        bells=bells,
    )
    queue = JobQueue(database, lease_s=settings.lease_s, max_attempts=settings.max_attempts, result_ttl_s=settings.result_ttl_s)
    return Services(
        settings=settings,
        database=database,
        store=store,
        queue=queue,
        keys=KeyRing(database, session_ttl_s=settings.session_ttl_s),
        catalog=CatalogReader(settings.triton_url),
        heatmaps=HeatMaps(settings.triton_url),
        watcher=Watcher(store, bells.hang("api"), poll_s=settings.poll_s, max_watching=settings.max_event_streams),
        metrics=Metrics(store, queue),
        limiter=MovingWindowRateLimiter(MemoryStorage()),
        limits=tuple(parse_many(settings.rate_limit)),
    )


def services_of(request: Request) -> Services:
    """The services of the application that a request came to."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services
