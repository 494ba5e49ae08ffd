"""What leaves: clear, masked, as a token, or not at all."""

from privguard.masking.apply import BodyMasker, Masked, compile_masker
from privguard.masking.operators import MaskTools, looks_masked
from privguard.masking.paging import PagingRewrite

__all__ = ["BodyMasker", "MaskTools", "Masked", "PagingRewrite", "compile_masker", "looks_masked"]
