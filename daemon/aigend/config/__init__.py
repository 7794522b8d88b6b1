"""Settings: one validated, immutable value read from a YAML file and `AIGEND_*` variables.

From here on a setting is a value: nothing else reads the settings file or those variables.
"""

from aigend.config.deferred import DeferredSettings
from aigend.config.document import default_document
from aigend.config.inbox import InboxSettings
from aigend.config.limits import LimitSettings
from aigend.config.loading import FlatSetting, LoadedSettings, Origin, load_settings
from aigend.config.places import Places
from aigend.config.problems import EXIT_SETTINGS, Problem, SettingsError
from aigend.config.section import Section
from aigend.config.sections import (
    AlertSettings,
    BreakerSettings,
    BudgetSettings,
    CacheSettings,
    DrainSettings,
    FeatureSettings,
    KeySource,
    LedgerSettings,
    LogSettings,
    ModelSettings,
    PriceSettings,
    ProviderSettings,
    RetrySettings,
    ServiceSettings,
    Settings,
    SettingsSections,
    TelemetrySettings,
    WebhookSettings,
    with_usual_adapter,
)
from aigend.config.units import Seconds
from aigend.config.well_known import WELL_KNOWN, with_environment

__all__ = [
    "EXIT_SETTINGS",
    "WELL_KNOWN",
    "AlertSettings",
    "BreakerSettings",
    "BudgetSettings",
    "CacheSettings",
    "DeferredSettings",
    "DrainSettings",
    "FeatureSettings",
    "FlatSetting",
    "InboxSettings",
    "KeySource",
    "LedgerSettings",
    "LimitSettings",
    "LoadedSettings",
    "LogSettings",
    "ModelSettings",
    "Origin",
    "Places",
    "PriceSettings",
    "Problem",
    "ProviderSettings",
    "RetrySettings",
    "Seconds",
    "Section",
    "ServiceSettings",
    "Settings",
    "SettingsError",
    "SettingsSections",
    "TelemetrySettings",
    "WebhookSettings",
    "default_document",
    "load_settings",
    "with_environment",
    "with_usual_adapter",
]
