"""Evaluation suites: what a model does, in figures with intervals. Importing this package registers the suites."""

from hizala.pipelines.evals import frontier as _frontier
from hizala.pipelines.evals import judge as _judge
from hizala.pipelines.evals import preferences as _preferences
from hizala.pipelines.evals import reward as _reward
from hizala.pipelines.evals import world as _world
from hizala.pipelines.evals.suite import EvalContext, Evaluated, Paired, SuiteResult, SuiteSpec, suite, suites

__all__ = ["EvalContext", "Evaluated", "Paired", "SuiteResult", "SuiteSpec", "suite", "suites"]
del _frontier, _judge, _preferences, _reward, _world
