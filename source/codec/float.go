package codec

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
)

// float4 and float8 send their IEEE 754 bits, big-endian.

func appendFloat4Binary(dst, src []byte) ([]byte, Change) {
	if len(src) != 4 {
		return appendNull(dst)
	}
	v := math.Float32frombits(binary.BigEndian.Uint32(src))
	return appendFloat(dst, float64(v), float64(float32(1e-4)), 1e6, 32)
}

func appendFloat8Binary(dst, src []byte) ([]byte, Change) {
	if len(src) != 8 {
		return appendNull(dst)
	}
	return appendFloat(dst, math.Float64frombits(binary.BigEndian.Uint64(src)), 1e-4, 1e15, 64)
}

// appendFloat prints v as PostgreSQL does from version 12 on, with extra_float_digits 1: the fewest digits that
// come back as v, without an exponent from low up to high. NaN and the infinities are null.
//
// Source: src/common/d2s.c and f2s.c of PostgreSQL.
func appendFloat(dst []byte, v, low, high float64, size int) ([]byte, Change) {
	a := math.Abs(v)
	switch {
	case size == 32 && a == 1.0/4096:
		// Two shortest decimals are equally near: strconv takes the upper, PostgreSQL the lower. This can only be
		// at powers of two, which are not in the middle between their neighbours, and this is the only one with two
		// answers.
		v = math.Copysign(0.00024414062, v)
		return strconv.AppendFloat(dst, v, 'f', -1, 64), Exact
	case a >= low && a < high, a == 0:
		return strconv.AppendFloat(dst, v, 'f', -1, size), Exact
	case math.IsNaN(a) || math.IsInf(a, 0):
		return appendNull(dst)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, v, 'e', -1, size)
	for a > high && a < 1e42 {
		d := parseDigits(dst[start:])
		if !d.halfway(a, size) {
			break
		}
		dst = strconv.AppendFloat(dst[:start], v, 'e', d.count, size) // one more
	}
	return dst, Exact
}

// digits is the number mantissa * 10^exponent, printed with count digits.
type digits struct {
	mantissa        uint64
	exponent, count int
}

// parseDigits reads text in the form -d.dddde+dd.
func parseDigits(text []byte) (d digits) {
	i, fraction := 0, 0
	for ; text[i] != 'e'; i++ {
		switch c := text[i]; c {
		case '-':
		case '.':
			fraction = -d.count
		default:
			d.mantissa = d.mantissa*10 + uint64(c-'0')
			d.count++
		}
	}
	if fraction != 0 {
		fraction += d.count
	}
	for _, c := range text[i+2:] {
		d.exponent = d.exponent*10 + int(c-'0')
	}
	if text[i+1] == '-' {
		d.exponent = -d.exponent
	}
	d.exponent -= fraction
	return d
}

// halfway reports whether d lies exactly between a, which is positive and normal, and one of its neighbours. IEEE
// rounding takes it back to a where a's last bit is 0, and strconv relies on that; PostgreSQL does not and prints
// another digit. Both are odd numbers times a power of two, so it is these that are compared. No number of 17
// digits below 2^50 or above 2^135 is halfway.
func (d digits) halfway(a float64, size int) bool {
	b := math.Float64bits(a)
	mantissa, power := b&(1<<52-1)|1<<52, int(b>>52)-1075 // a is mantissa * 2^power
	if size == 32 {
		mantissa, power = mantissa>>29, power+29
	}
	two := bits.TrailingZeros64(d.mantissa)
	odd := d.mantissa >> two
	two += d.exponent
	for range d.exponent {
		if odd >= 1<<56 {
			return false
		}
		odd *= 5
	}
	for range -d.exponent {
		if odd%5 != 0 {
			return false
		}
		odd /= 5
	}
	if two == power-1 && (odd == 2*mantissa+1 || odd == 2*mantissa-1) {
		return true
	}
	// Below a power of two the neighbours are twice as close.
	return two == power-2 && odd == 4*mantissa-1 && mantissa&(mantissa-1) == 0
}
