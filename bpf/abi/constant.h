/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * How a program knows a number that is fixed before it runs. One source, four generations
 * (docs/concepts/fast-datapaths.md): they differ here and in lib/self.h, nowhere else.
 */
#ifndef KINETY_ABI_CONSTANT_H
#define KINETY_ABI_CONSTANT_H

#define GENERATION_COMPILE 1  /* clang per endpoint: -D VALUE_name=number for every constant */
#define GENERATION_SYMBOLS 2  /* compiled once; the loader writes numbers into instructions */
#define GENERATION_RODATA 3   /* compiled once; numbers in a .rodata map per endpoint */
#define GENERATION_RESIDENT 4 /* loaded once; an endpoint is a row, .rodata is the node's */

#ifndef GENERATION
#define GENERATION GENERATION_RESIDENT
#endif

#if GENERATION == GENERATION_COMPILE
#define CONSTANT(type, name, initial) static const type __attribute__((unused)) name = VALUE_##name
#elif GENERATION == GENERATION_SYMBOLS
/* No map is made of this section: it says which symbols there are, how wide, and with what default. */
#define CONSTANT(type, name, initial) \
	const volatile __attribute__((section("symbols"), used)) type name = initial
/* The symbol's value is the datum: asking for its address gives the number. Opaque to the compiler,
 * who would conclude from an address that it is aligned and not null. */
#define SYMBOL(name)                                             \
	({                                                       \
		__u64 value_;                                    \
		asm("%0 = " #name " ll" : "=r"(value_));         \
		(typeof(name))value_;                            \
	})
#else
#define CONSTANT(type, name, initial) \
	const volatile __attribute__((section(".rodata.config"), used)) type name = initial
#endif

#endif
