"""Words of ours and their protobuf numbers, both ways, paired by name so that none can be forgotten."""

from enum import StrEnum
from typing import Any, Generic, TypeVar

from aigen.v1 import completion_pb2, message_pb2, model_pb2
from google.protobuf.descriptor import EnumDescriptor

from aigend.errors import invalid
from aigend.ledger.entries import AttemptState
from aigend.types import (
    CacheMode,
    CacheOutcome,
    Capability,
    CostBasis,
    FinishReason,
    Lane,
    ModelTier,
    Normalization,
    ReasoningEffort,
    ResponseFormatType,
    Role,
    SavingsCause,
    Stability,
    Strategy,
    ToolChoiceMode,
)

Word = TypeVar("Word", bound=StrEnum)


class EnumPair(Generic[Word]):
    """One of our enums beside its protobuf enum.

    Args:
        words: Our enum.
        numbers: The protobuf enum; its value names are our member names behind `prefix`.
        prefix: What protobuf puts before each name.
    """

    def __init__(self, words: type[Word], numbers: EnumDescriptor, prefix: str) -> None:
        self.allowed = ", ".join(word.name for word in words)
        self._to_number = {word: numbers.values_by_name[f"{prefix}_{word.name}"].number for word in words}
        self._to_word = {number: word for word, number in self._to_number.items()}

    def pack(self, word: Word) -> Any:
        """Return the protobuf number of a word; generated signatures take it as the enum's own type."""
        return self._to_number[word]

    def unpack(self, number: int, field: str) -> Word | None:
        """Return the word of a protobuf number; None for 0, which means unset.

        Raises:
            DomainError: INVALID_REQUEST naming `field` for a number that this version does not know.
        """
        if number == 0:
            return None
        word = self._to_word.get(number)
        if word is None:
            raise invalid(field, number, self.allowed)
        return word


ROLE = EnumPair(Role, message_pb2.Role.DESCRIPTOR, "ROLE")
STABILITY = EnumPair(Stability, message_pb2.Stability.DESCRIPTOR, "STABILITY")
TOOL_CHOICE = EnumPair(ToolChoiceMode, message_pb2.ToolChoice.Mode.DESCRIPTOR, "MODE")
FORMAT = EnumPair(ResponseFormatType, message_pb2.ResponseFormat.Type.DESCRIPTOR, "TYPE")
EFFORT = EnumPair(ReasoningEffort, message_pb2.ReasoningEffort.DESCRIPTOR, "REASONING_EFFORT")
FINISH = EnumPair(FinishReason, message_pb2.FinishReason.DESCRIPTOR, "FINISH_REASON")
STRATEGY = EnumPair(Strategy, completion_pb2.Strategy.DESCRIPTOR, "STRATEGY")
LANE = EnumPair(Lane, completion_pb2.Lane.DESCRIPTOR, "LANE")
MODE = EnumPair(CacheMode, completion_pb2.CacheMode.DESCRIPTOR, "CACHE_MODE")
NORMALIZATION = EnumPair(Normalization, completion_pb2.Normalization.DESCRIPTOR, "NORMALIZATION")
OUTCOME = EnumPair(CacheOutcome, completion_pb2.CacheOutcome.DESCRIPTOR, "CACHE_OUTCOME")
BASIS = EnumPair(CostBasis, completion_pb2.CostBasis.DESCRIPTOR, "COST_BASIS")
CAUSE = EnumPair(SavingsCause, completion_pb2.SavingsCause.DESCRIPTOR, "SAVINGS_CAUSE")
TIER = EnumPair(ModelTier, model_pb2.ModelTier.DESCRIPTOR, "MODEL_TIER")
CAPABILITY = EnumPair(Capability, model_pb2.ModelCapability.DESCRIPTOR, "MODEL_CAPABILITY")
ATTEMPT_STATE = EnumPair(AttemptState, message_pb2.AttemptState.DESCRIPTOR, "ATTEMPT_STATE")
