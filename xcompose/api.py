"""Everything that a plugin author imports.

Names that need torch are loaded when they are first used, so that a fixed pattern costs no import of torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xcompose.attention.algebra import Difference as Difference
from xcompose.attention.algebra import Everything as Everything
from xcompose.attention.algebra import Grouped as Grouped
from xcompose.attention.algebra import Heads as Heads
from xcompose.attention.algebra import Intersection as Intersection
from xcompose.attention.algebra import Union as Union
from xcompose.attention.algebra import set_members as set_members
from xcompose.attention.grid import Grid as Grid
from xcompose.attention.grid import grid_of as grid_of
from xcompose.attention.pattern import NEVER as NEVER
from xcompose.attention.pattern import TILE as TILE
from xcompose.attention.pattern import DependsOnLength as DependsOnLength
from xcompose.attention.pattern import Gather as Gather
from xcompose.attention.pattern import Observed as Observed
from xcompose.attention.pattern import Pattern as Pattern
from xcompose.attention.pattern import Point as Point
from xcompose.attention.pattern import Run as Run
from xcompose.attention.pattern import Steady as Steady
from xcompose.attention.pattern import Tiles as Tiles
from xcompose.attention.segmented import EarlierRows as EarlierRows
from xcompose.attention.segmented import OwnSegment as OwnSegment
from xcompose.attention.segmented import segment_tiles as segment_tiles
from xcompose.diagnostics import PartError as PartError
from xcompose.diagnostics import TooLong as TooLong
from xcompose.hookspecs import hookimpl as hookimpl
from xcompose.registry.component import Component as Component
from xcompose.registry.discovery import API_VERSION as API_VERSION
from xcompose.schema import AnyValue as AnyValue
from xcompose.schema import Blocks as Blocks
from xcompose.schema import Budget as Budget
from xcompose.schema import Count as Count
from xcompose.schema import Layers as Layers
from xcompose.schema import Length as Length
from xcompose.schema import Part as Part
from xcompose.schema import Real as Real
from xcompose.schema import Section as Section
from xcompose.schema import SpecRef as SpecRef
from xcompose.schema import Text as Text
from xcompose.schema import Width as Width
from xcompose.schema import option as option
from xcompose.schema import options as options

if TYPE_CHECKING:
    from xcompose.attention.attend import attend as attend
    from xcompose.attention.buckets import LatestOfBucket as LatestOfBucket
    from xcompose.attention.buckets import form_of as form_of
    from xcompose.attention.checks import between_clocks as between_clocks
    from xcompose.attention.checks import prefix_stable as prefix_stable
    from xcompose.attention.checks import reads_no_token as reads_no_token
    from xcompose.attention.checks import selection as selection
    from xcompose.attention.checks import silent_query as silent_query
    from xcompose.attention.checks import spans_are_prefix as spans_are_prefix
    from xcompose.attention.clusters import ClusterPattern as ClusterPattern
    from xcompose.attention.clusters import slots_there as slots_there
    from xcompose.attention.groups import head_groups as head_groups
    from xcompose.attention.island import cast_to as cast_to
    from xcompose.attention.island import casting as casting
    from xcompose.attention.island import exact as exact
    from xcompose.attention.island import island as island
    from xcompose.attention.kernel import KernelSums as KernelSums
    from xcompose.attention.layer import SoftmaxReads as SoftmaxReads
    from xcompose.attention.learned import LearnedPattern as LearnedPattern
    from xcompose.attention.learned import SortedTiles as SortedTiles
    from xcompose.attention.learned import Tags as Tags
    from xcompose.attention.places import Stairs as Stairs
    from xcompose.attention.reads import BEFORE_TIME as BEFORE_TIME
    from xcompose.attention.reads import Axis as Axis
    from xcompose.attention.reads import Clock as Clock
    from xcompose.attention.reads import Read as Read
    from xcompose.attention.reads import Score as Score
    from xcompose.attention.reads import Slots as Slots
    from xcompose.attention.reads import Term as Term
    from xcompose.attention.refusals import refuse_beside_means as refuse_beside_means
    from xcompose.attention.refusals import refuse_idle as refuse_idle
    from xcompose.attention.refusals import refuse_memories as refuse_memories
    from xcompose.attention.refusals import refuse_pattern as refuse_pattern
    from xcompose.attention.refusals import refuse_silence as refuse_silence
    from xcompose.attention.refusals import refuse_with_kernel as refuse_with_kernel
    from xcompose.attention.refusals import uses_keys as uses_keys
    from xcompose.attention.rows import Asked as Asked
    from xcompose.attention.rows import asks_keys as asks_keys
    from xcompose.attention.rows import chosen as chosen
    from xcompose.attention.rows import has_rows as has_rows
    from xcompose.attention.rows import one_piece as one_piece
    from xcompose.attention.rows import only_rows as only_rows
    from xcompose.attention.scores import refuse_summaries as refuse_summaries
    from xcompose.attention.scores import refuse_without_content as refuse_without_content
    from xcompose.attention.scores import with_score as with_score
    from xcompose.attention.shown import hidden as hidden
    from xcompose.attention.shown import shown as shown
    from xcompose.attention.summarised import spans_of as spans_of
    from xcompose.attention.terms import asked as asked
    from xcompose.attention.terms import looked_up as looked_up
    from xcompose.attention.terms import weighed as weighed
    from xcompose.compose.activations import Activation as Activation
    from xcompose.compose.activations import activation as activation
    from xcompose.compose.adapters import Adapter as Adapter
    from xcompose.compose.adapters import AdapterRows as AdapterRows
    from xcompose.compose.adapters import Adapters as Adapters
    from xcompose.compose.adapters import Behind as Behind
    from xcompose.compose.adapters import adapter_weights as adapter_weights
    from xcompose.compose.adapters import adapters_of as adapters_of
    from xcompose.compose.adapters import freeze_base as freeze_base
    from xcompose.compose.adapters import new_adapter as new_adapter
    from xcompose.compose.adapters import settle_adapter as settle_adapter
    from xcompose.compose.addons import Addon as Addon
    from xcompose.compose.addons import Given as Given
    from xcompose.compose.addons import Lesson as Lesson
    from xcompose.compose.addons import Loss as Loss
    from xcompose.compose.addons import TrainingAddon as TrainingAddon
    from xcompose.compose.addons import extra as extra
    from xcompose.compose.blockwise import BlockMemory as BlockMemory
    from xcompose.compose.blockwise import in_blocks as in_blocks
    from xcompose.compose.blockwise import with_null as with_null
    from xcompose.compose.carried import CarriedRows as CarriedRows
    from xcompose.compose.combine import SideBySide as SideBySide
    from xcompose.compose.combine import numbered as numbered
    from xcompose.compose.findings import Findings as Findings
    from xcompose.compose.inner import InnerLayer as InnerLayer
    from xcompose.compose.inside import Look as Look
    from xcompose.compose.inside import Seen as Seen
    from xcompose.compose.inside import looking as looking
    from xcompose.compose.likeness import angles as angles
    from xcompose.compose.likeness import map_divergence as map_divergence
    from xcompose.compose.likeness import map_squares as map_squares
    from xcompose.compose.likeness import relation_divergence as relation_divergence
    from xcompose.compose.likeness import soft_targets as soft_targets
    from xcompose.compose.likeness import squares as squares
    from xcompose.compose.likeness import wide as wide
    from xcompose.compose.linear import AsMatrix as AsMatrix
    from xcompose.compose.linear import Matrix as Matrix
    from xcompose.compose.linear import ToLogits as ToLogits
    from xcompose.compose.linear import ToStream as ToStream
    from xcompose.compose.linear import ends_sublayer as ends_sublayer
    from xcompose.compose.model import Model as Model
    from xcompose.compose.model import OneStackModel as OneStackModel
    from xcompose.compose.model import Ran as Ran
    from xcompose.compose.numbers import store_in as store_in
    from xcompose.compose.numbers import work_in as work_in
    from xcompose.compose.observe import Observer as Observer
    from xcompose.compose.options import ModelOptions as ModelOptions
    from xcompose.compose.options import OneStackOptions as OneStackOptions
    from xcompose.compose.options import StackOptions as StackOptions
    from xcompose.compose.pairing import paired_layers as paired_layers
    from xcompose.compose.pairing import start_as as start_as
    from xcompose.compose.parts import FFN as FFN
    from xcompose.compose.parts import AfterStep as AfterStep
    from xcompose.compose.parts import Before as Before
    from xcompose.compose.parts import Branch as Branch
    from xcompose.compose.parts import Context as Context
    from xcompose.compose.parts import Embedding as Embedding
    from xcompose.compose.parts import Init as Init
    from xcompose.compose.parts import Memory as Memory
    from xcompose.compose.parts import Mixed as Mixed
    from xcompose.compose.parts import Mixer as Mixer
    from xcompose.compose.parts import ModelOut as ModelOut
    from xcompose.compose.parts import Norm as Norm
    from xcompose.compose.parts import Output as Output
    from xcompose.compose.parts import Position as Position
    from xcompose.compose.parts import Residual as Residual
    from xcompose.compose.parts import Source as Source
    from xcompose.compose.parts import Spans as Spans
    from xcompose.compose.parts import State as State
    from xcompose.compose.parts import View as View
    from xcompose.compose.parts import Visible as Visible
    from xcompose.compose.projections import Projections as Projections
    from xcompose.compose.projections import stopped as stopped
    from xcompose.compose.quantized import Quantized as Quantized
    from xcompose.compose.quantized import Rounding as Rounding
    from xcompose.compose.quantized import Scheme as Scheme
    from xcompose.compose.quantized import choosing as choosing
    from xcompose.compose.sharing import LayerPart as LayerPart
    from xcompose.compose.sharing import called as called
    from xcompose.compose.sharing import share_layers as share_layers
    from xcompose.compose.sharing import stacks_named as stacks_named
    from xcompose.compose.sites import Site as Site
    from xcompose.compose.sites import everywhere as everywhere
    from xcompose.compose.sites import put as put
    from xcompose.compose.sites import sites as sites
    from xcompose.compose.sites import unseen as unseen
    from xcompose.compose.stack import Beside as Beside
    from xcompose.compose.stack import Block as Block
    from xcompose.compose.stack import Piece as Piece
    from xcompose.compose.stack import Stack as Stack
    from xcompose.compose.tasks import Batch as Batch
    from xcompose.compose.tasks import OptimizerFactory as OptimizerFactory
    from xcompose.compose.tasks import ScheduleFunction as ScheduleFunction
    from xcompose.compose.tasks import Shown as Shown
    from xcompose.compose.tasks import Splits as Splits
    from xcompose.compose.tasks import Task as Task
    from xcompose.compose.tasks import check_logits as check_logits
    from xcompose.compose.tasks import check_vocabulary as check_vocabulary
    from xcompose.compose.tasks import check_whole_image as check_whole_image
    from xcompose.compose.tasks import grid_of_images as grid_of_images
    from xcompose.compose.tasks import loss_of_labels as loss_of_labels
    from xcompose.compose.tasks import two_betas as two_betas
    from xcompose.compose.tuned import Chosen as Chosen
    from xcompose.compose.tuned import Tuned as Tuned
    from xcompose.compose.tuned import is_stored as is_stored
    from xcompose.compose.tuner import Tuner as Tuner
    from xcompose.compose.unused import refuse_unused as refuse_unused
    from xcompose.compose.unused import written as written
    from xcompose.compose.vocabulary import TokenClusters as TokenClusters
    from xcompose.compose.weights import hash_of as hash_of
    from xcompose.compose.weights import load_weights as load_weights
    from xcompose.compose.weights import plain_tensors as plain_tensors
    from xcompose.decode.cache import append as append
    from xcompose.decode.cache import drop as drop
    from xcompose.decode.cache import empty_cache as empty_cache
    from xcompose.decode.cache import kept as kept
    from xcompose.decode.cache import next_time as next_time
    from xcompose.decode.pack import fill_rows as fill_rows
    from xcompose.decode.pack import pack as pack
    from xcompose.decode.pack import take_rows as take_rows
    from xcompose.search.dominance import front as front
    from xcompose.search.ground import Ground as Ground
    from xcompose.search.predictor import LatencyPredictor as LatencyPredictor
    from xcompose.search.predictor import measured_latencies as measured_latencies
    from xcompose.search.predictor import rank_correlation as rank_correlation
    from xcompose.search.strategy import Candidate as Candidate
    from xcompose.search.strategy import Hopeless as Hopeless
    from xcompose.search.strategy import Strategy as Strategy
    from xcompose.search.supertrain import TrainedSuper as TrainedSuper
    from xcompose.search.supertrain import trained_super as trained_super
    from xcompose.train.corpus import ByteCorpus as ByteCorpus
    from xcompose.train.corpus import read_corpus as read_corpus
    from xcompose.train.corpus import unigram_bits as unigram_bits
    from xcompose.train.images import ImageCorpus as ImageCorpus
    from xcompose.train.images import as_images as as_images
    from xcompose.train.images import as_sequences as as_sequences
    from xcompose.train.images import read_images as read_images
    from xcompose.train.labelled import LabelledCorpus as LabelledCorpus
    from xcompose.train.labelled import read_labelled as read_labelled
    from xcompose.train.pairs import PairedCorpus as PairedCorpus
    from xcompose.train.pairs import read_pairs as read_pairs
    from xcompose.train.png import png as png
    from xcompose.train.png import side_by_side as side_by_side
    from xcompose.train.windows import Windows as Windows

_LAZY = {
    "xcompose.attention.attend": ("attend",),
    "xcompose.attention.buckets": ("LatestOfBucket", "form_of"),
    "xcompose.attention.learned": ("LearnedPattern", "SortedTiles", "Tags"),
    "xcompose.attention.checks": (
        "between_clocks", "prefix_stable", "reads_no_token", "selection", "silent_query", "spans_are_prefix",
    ),
    "xcompose.attention.clusters": ("ClusterPattern", "slots_there"),
    "xcompose.attention.island": ("cast_to", "casting", "exact", "island"),
    "xcompose.attention.kernel": ("KernelSums",),
    "xcompose.attention.groups": ("head_groups",),
    "xcompose.attention.layer": ("SoftmaxReads",),
    "xcompose.attention.shown": ("hidden", "shown"),
    "xcompose.attention.scores": ("refuse_summaries", "refuse_without_content", "with_score"),
    "xcompose.attention.summarised": ("spans_of",),
    "xcompose.decode.cache": ("append", "drop", "empty_cache", "kept", "next_time"),
    "xcompose.decode.pack": ("fill_rows", "pack", "take_rows"),
    "xcompose.attention.places": ("Stairs",),
    "xcompose.attention.reads": ("BEFORE_TIME", "Axis", "Clock", "Read", "Score", "Slots", "Term"),
    "xcompose.attention.refusals": (
        "refuse_beside_means", "refuse_idle", "refuse_memories", "refuse_pattern", "refuse_silence",
        "refuse_with_kernel", "uses_keys",
    ),
    "xcompose.attention.rows": ("Asked", "asks_keys", "chosen", "has_rows", "one_piece", "only_rows"),
    "xcompose.attention.terms": ("asked", "looked_up", "weighed"),
    "xcompose.compose.activations": ("Activation", "activation"),
    "xcompose.compose.adapters": (
        "Adapter", "AdapterRows", "Adapters", "Behind", "adapter_weights", "adapters_of", "freeze_base", "new_adapter",
        "settle_adapter",
    ),
    "xcompose.compose.tuned": ("Chosen", "Tuned", "is_stored"),
    "xcompose.compose.tuner": ("Tuner",),
    "xcompose.compose.addons": ("Addon", "Given", "Lesson", "Loss", "TrainingAddon", "extra"),
    "xcompose.compose.sharing": ("LayerPart", "called", "share_layers", "stacks_named"),
    "xcompose.compose.sites": ("Site", "everywhere", "put", "sites", "unseen"),
    "xcompose.compose.quantized": ("Quantized", "Rounding", "Scheme", "choosing"),
    "xcompose.compose.blockwise": ("BlockMemory", "in_blocks", "with_null"),
    "xcompose.compose.carried": ("CarriedRows",),
    "xcompose.compose.vocabulary": ("TokenClusters",),
    "xcompose.compose.combine": ("SideBySide", "numbered"),
    "xcompose.compose.findings": ("Findings",),
    "xcompose.compose.linear": ("AsMatrix", "Matrix", "ToLogits", "ToStream", "ends_sublayer"),
    "xcompose.compose.inner": ("InnerLayer",),
    "xcompose.compose.inside": ("Look", "Seen", "looking"),
    "xcompose.compose.likeness": (
        "angles", "map_divergence", "map_squares", "relation_divergence", "soft_targets", "squares", "wide",
    ),
    "xcompose.compose.pairing": ("paired_layers", "start_as"),
    "xcompose.compose.weights": ("hash_of", "load_weights", "plain_tensors"),
    "xcompose.compose.model": ("Model", "OneStackModel", "Ran"),
    "xcompose.compose.numbers": ("store_in", "work_in"),
    "xcompose.compose.observe": ("Observer",),
    "xcompose.compose.options": ("ModelOptions", "OneStackOptions", "StackOptions"),
    "xcompose.compose.parts": (
        "FFN", "AfterStep", "Before", "Branch", "Context", "Embedding", "Init", "Memory", "Mixed", "Mixer", "ModelOut",
        "Norm", "Output", "Position", "Residual", "Source", "Spans", "State", "View",
        "Visible",
    ),
    "xcompose.compose.projections": ("Projections", "stopped"),
    "xcompose.compose.stack": ("Beside", "Block", "Piece", "Stack"),
    "xcompose.compose.tasks": (
        "Batch", "OptimizerFactory", "ScheduleFunction", "Shown", "Splits", "Task", "check_logits",
        "check_vocabulary", "check_whole_image", "grid_of_images", "loss_of_labels", "two_betas",
    ),
    "xcompose.compose.unused": ("refuse_unused", "written"),
    "xcompose.search.dominance": ("front",),
    "xcompose.search.ground": ("Ground",),
    "xcompose.search.predictor": ("LatencyPredictor", "measured_latencies", "rank_correlation"),
    "xcompose.search.strategy": ("Candidate", "Hopeless", "Strategy"),
    "xcompose.search.supertrain": ("TrainedSuper", "trained_super"),
    "xcompose.train.corpus": ("ByteCorpus", "read_corpus", "unigram_bits"),
    "xcompose.train.images": ("ImageCorpus", "as_images", "as_sequences", "read_images"),
    "xcompose.train.png": ("png", "side_by_side"),
    "xcompose.train.labelled": ("LabelledCorpus", "read_labelled"),
    "xcompose.train.pairs": ("PairedCorpus", "read_pairs"),
    "xcompose.train.windows": ("Windows",),
}  # fmt: skip
_HOME = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"xcompose.api has no {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
