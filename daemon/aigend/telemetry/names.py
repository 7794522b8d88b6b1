"""Every span, metric and attribute, spelled once.

Where OpenTelemetry's conventions for generative AI have a name it is used; everything else begins with `aigen.`.

Source:
    OpenTelemetry semantic conventions for generative AI, opentelemetry-semantic-conventions 0.66b2.
"""

from dataclasses import dataclass
from enum import Enum

SCOPE = "aigend"
SERVICE_NAME = "aigend"

# Operations and the spans named after them; a span of a provider call is "<operation> <model>".
OPERATION_CHAT = "chat"
SPAN_COMPLETE = "aigen.complete"
SPAN_STREAM = "aigen.stream_complete"
SPAN_BATCH = "aigen.batch_complete"
SPAN_ALERT = "aigen.budget_alert"  # and the event in it

# Attributes of the conventions.
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
AGENT = "gen_ai.agent.name"
CONVERSATION = "gen_ai.conversation.id"
MAX_TOKENS = "gen_ai.request.max_tokens"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - a kind of model token
ERROR_TYPE = "error.type"

# Attributes of our own.
REQUEST_ID = "aigen.request_id"
SERVICE = "aigen.service"
PHASE = "aigen.phase"
SESSION = "aigen.session"
TASK = "aigen.task"
CACHE_OUTCOME = "aigen.cache.outcome"
ATTEMPT = "aigen.attempt"
LEDGER_ENTRY_ID = "aigen.ledger_entry_id"
COST_NANOS = "aigen.cost_usd_nanos"
COST_BASIS = "aigen.cost_basis"
SAVED_NANOS = "aigen.saved_usd_nanos"
SAVINGS_CAUSE = "aigen.savings_cause"
QUEUE_US = "aigen.queue_us"
BUDGET = "aigen.budget"
WINDOW = "aigen.budget.window"
BUDGET_KEY = "aigen.budget.key"
ALERT_KIND = "aigen.budget.alert_kind"
ALERT_PERCENT = "aigen.budget.percent"
LIMIT_NANOS = "aigen.budget.limit_usd_nanos"
SPENT_NANOS = "aigen.budget.spent_usd_nanos"
STATE = "aigen.state"
KEY = "aigen.key"
REFUSAL = "aigen.refusal"
GATE_ENDING = "aigen.gate.ending"

ATTRIBUTES = frozenset(
    {
        OPERATION,
        PROVIDER,
        REQUEST_MODEL,
        RESPONSE_MODEL,
        FINISH_REASONS,
        AGENT,
        CONVERSATION,
        MAX_TOKENS,
        INPUT_TOKENS,
        OUTPUT_TOKENS,
        REASONING_TOKENS,
        CACHE_READ_TOKENS,
        CACHE_WRITE_TOKENS,
        TOKEN_TYPE,
        ERROR_TYPE,
        REQUEST_ID,
        SERVICE,
        PHASE,
        SESSION,
        TASK,
        CACHE_OUTCOME,
        ATTEMPT,
        LEDGER_ENTRY_ID,
        COST_NANOS,
        COST_BASIS,
        SAVED_NANOS,
        SAVINGS_CAUSE,
        QUEUE_US,
        BUDGET,
        WINDOW,
        BUDGET_KEY,
        ALERT_KIND,
        ALERT_PERCENT,
        LIMIT_NANOS,
        SPENT_NANOS,
        STATE,
        KEY,
        REFUSAL,
        GATE_ENDING,
    }
)


class MetricKind(Enum):
    """What a metric's numbers do over time."""

    COUNTER = "counter"  # only grows
    UP_DOWN = "up-down counter"  # grows and shrinks, adds up over processes
    GAUGE = "gauge"  # a reading, does not add up
    HISTOGRAM = "histogram"  # bucket arrays


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name, what its numbers do, their unit in UCUM, and a sentence."""

    name: str
    kind: MetricKind
    unit: str
    description: str


COMPLETIONS = Metric("aigen.completions", MetricKind.COUNTER, "{completion}", "Completions answered, by cache outcome.")
FAILURES = Metric("aigen.failures", MetricKind.COUNTER, "{completion}", "Calls that ended with an error, by reason.")
COMPLETION_DURATION = Metric("aigen.completion.duration", MetricKind.HISTOGRAM, "s", "Time of a completion inside the daemon.")
OPERATION_DURATION = Metric("gen_ai.client.operation.duration", MetricKind.HISTOGRAM, "s", "Time of a call to a provider.")
TOKENS = Metric("aigen.tokens", MetricKind.COUNTER, "{token}", "Tokens of settled calls, by type.")
COST = Metric("aigen.cost", MetricKind.COUNTER, "{nano_usd}", "Cost of settled calls.")
COST_CORRECTED = Metric(
    "aigen.cost.corrected",
    MetricKind.UP_DOWN,
    "{nano_usd}",
    "What was added to that cost since: calls recorded, unknown ones settled, prices computed anew.",
)
SAVED = Metric("aigen.saved", MetricKind.COUNTER, "{nano_usd}", "What calls would have cost without aigen, by cause.")
CACHE_MEMORY_SIZE = Metric("aigen.cache.memory.size", MetricKind.UP_DOWN, "By", "Size of the cache's memory tier.")
CACHE_EVICTIONS = Metric("aigen.cache.evictions", MetricKind.COUNTER, "{entry}", "Answers that the size limit removed.")
IN_FLIGHT = Metric("aigen.calls.in_flight", MetricKind.UP_DOWN, "{call}", "Provider calls under way.")
QUEUED = Metric("aigen.calls.queued", MetricKind.UP_DOWN, "{call}", "Calls that wait for a slot.")
QUEUE_WAIT = Metric("aigen.queue.wait", MetricKind.HISTOGRAM, "s", "Time that calls waited for a slot; 0 where one was free.")
QUEUE_REFUSED = Metric("aigen.queue.refused", MetricKind.COUNTER, "{call}", "Calls that were not let wait, or no longer, by why.")
BATCH_SIZE = Metric("aigen.batch.size", MetricKind.HISTOGRAM, "{call}", "Calls that left for a provider together.")
BATCH_FALLBACKS = Metric(
    "aigen.batch.fallbacks", MetricKind.COUNTER, "{call}", "Announced calls that left singly because they could not leave together."
)
SLOTS = Metric("aigen.slots", MetricKind.GAUGE, "{call}", "Calls that a provider may have under way, as found by trying.")
GATED = Metric("aigen.calls.gated", MetricKind.UP_DOWN, "{call}", "Calls that wait for another to send the same prefix.")
GATE_WAITS = Metric("aigen.gate.waits", MetricKind.COUNTER, "{wait}", "Waits at the prefix gate, by how they ended.")
DETACHED = Metric("aigen.calls.detached", MetricKind.UP_DOWN, "{call}", "Provider calls whose caller has gone.")
DEFERRED = Metric("aigen.calls.deferred", MetricKind.UP_DOWN, "{call}", "Deferred calls without an answer, by where they are.")
UPLOADS = Metric("aigen.batch_jobs.open", MetricKind.UP_DOWN, "{job}", "Jobs at providers' batch APIs that have not ended.")
INTAKE = Metric("aigen.intake.requests", MetricKind.UP_DOWN, "{request}", "Requests of taken files without a result, by state.")
INTAKE_RESULTS = Metric("aigen.intake.results", MetricKind.COUNTER, "{request}", "Results of such requests, by error.")
CIRCUIT = Metric("aigen.circuit", MetricKind.GAUGE, "1", "State of a provider's key: 0 closed, 1 half open, 2 open.")
PASSED_BY = Metric(
    "aigen.calls.passed_by", MetricKind.COUNTER, "{call}", "Calls that a provider did not get because its circuit was open."
)
RETRIES_REFUSED = Metric(
    "aigen.retries.refused", MetricKind.COUNTER, "{attempt}", "Retries not made because the retry budget was used up."
)
BUDGET_SPENT = Metric("aigen.budget.spent", MetricKind.GAUGE, "{nano_usd}", "Booked in a budget's current window.")
BUDGET_RESERVED = Metric("aigen.budget.reserved", MetricKind.GAUGE, "{nano_usd}", "Held for calls under way in a budget's window.")
BUDGET_LIMIT = Metric("aigen.budget.limit", MetricKind.GAUGE, "{nano_usd}", "Limit of a budget.")
LEDGER_SEQUENCE = Metric("aigen.ledger.sequence", MetricKind.COUNTER, "{row}", "Rows of the ledger's journal.")
LOG_DROPPED = Metric("aigen.log.dropped", MetricKind.COUNTER, "{line}", "Log lines dropped because standard error was stalled.")

METRICS = (
    COMPLETIONS,
    FAILURES,
    COMPLETION_DURATION,
    OPERATION_DURATION,
    TOKENS,
    COST,
    COST_CORRECTED,
    SAVED,
    CACHE_MEMORY_SIZE,
    CACHE_EVICTIONS,
    IN_FLIGHT,
    QUEUED,
    QUEUE_WAIT,
    QUEUE_REFUSED,
    BATCH_SIZE,
    BATCH_FALLBACKS,
    SLOTS,
    GATED,
    GATE_WAITS,
    DETACHED,
    DEFERRED,
    UPLOADS,
    INTAKE,
    INTAKE_RESULTS,
    CIRCUIT,
    PASSED_BY,
    RETRIES_REFUSED,
    BUDGET_SPENT,
    BUDGET_RESERVED,
    BUDGET_LIMIT,
    LEDGER_SEQUENCE,
    LOG_DROPPED,
)
