"""Number literals of the text format as bit patterns.

A Python float would round twice for f32 and loses the payload of a signalling NaN, so floats are rounded once, from an
exact fraction, to nearest-even.
"""

from __future__ import annotations

from fractions import Fraction

__all__ = ["float_bits", "int_value"]

# width -> (precision with the hidden bit, smallest and largest exponent of normal numbers)
_FORMATS = {32: (24, -126, 127), 64: (53, -1022, 1023)}


def int_value(text: str) -> int:
    """`-0x8000_0000` and the like."""
    digits = text.replace("_", "")
    negative = digits[0] == "-"
    if digits[0] in "+-":
        digits = digits[1:]
    value = int(digits, 16) if digits[:2].lower() == "0x" else int(digits)
    return -value if negative else value


def _fraction(text: str) -> Fraction:
    if text[:2].lower() != "0x":
        return Fraction(text)
    body, _, exponent = text[2:].lower().partition("p")
    whole, _, part = body.partition(".")
    return Fraction(int((whole + part) or "0", 16)) * Fraction(2) ** (int(exponent or 0) - 4 * len(part))


def _round(value: Fraction, width: int) -> int:
    """Bits of a positive number without its sign."""
    precision, lowest, highest = _FORMATS[width]
    mantissa_bits = precision - 1
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    if Fraction(2) ** exponent > value:
        exponent -= 1
    exponent = max(exponent, lowest)  # below: a subnormal, in units of the smallest one
    mantissa = round(value / Fraction(2) ** (exponent - mantissa_bits))  # Fraction rounds half to even
    if mantissa == 1 << precision:
        mantissa >>= 1
        exponent += 1
    if exponent > highest:
        return _infinity(width)
    biased = 0 if mantissa < 1 << mantissa_bits else exponent - lowest + 1
    return biased << mantissa_bits | (mantissa & ((1 << mantissa_bits) - 1))


def _infinity(width: int) -> int:
    mantissa_bits = _FORMATS[width][0] - 1
    return ((1 << (width - 1 - mantissa_bits)) - 1) << mantissa_bits


def float_bits(text: str, width: int) -> int:
    """Bit pattern (unsigned) of a float literal; `width` is 32 or 64."""
    digits = text.replace("_", "")
    sign = 0
    if digits[0] in "+-":
        sign = int(digits[0] == "-") << (width - 1)
        digits = digits[1:]
    if digits == "inf":
        return sign | _infinity(width)
    if digits == "nan":
        return sign | _infinity(width) | 1 << (_FORMATS[width][0] - 2)
    if digits.startswith("nan:0x"):
        return sign | _infinity(width) | int(digits[6:], 16)
    value = _fraction(digits)
    return sign | _round(value, width) if value else sign
