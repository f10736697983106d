/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The endpoint at whose interface a program runs. The agent's programs are resident: they
 * serve every endpoint and find this one's row by its interface. The other generations are
 * made for one endpoint: what never changes in its life is in the program. What does change
 * (readiness, epoch, rule sets, identities) is in the row, in every generation. The node itself
 * has a row as well, and programs of its own that know no other.
 */
#ifndef KINETY_LIB_SELF_H
#define KINETY_LIB_SELF_H

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/context.h"
#include "lib/identity.h"

#ifdef CONTEXT_NETFILTER

/* The node itself, at the hooks where it is the one that sends or receives. */
static __always_inline struct endpoint *self_row(const context *ctx)
{
	/* The compiler passes nothing to a function that does not look at it; the verifier wants it passed. */
	barrier_var(ctx);
	return endpoint_at(ENDPOINT_SLOT_HOST);
}

#elif GENERATION == GENERATION_RESIDENT

static __always_inline struct endpoint *self_row(const context *skb)
{
	return endpoint_of_interface(skb->ifindex);
}

/* MACs and addresses; `copy` is room for them where there is no row to read. */
static __always_inline const struct endpoint *self_facts(const struct endpoint *row, struct endpoint *copy)
{
	(void)copy;
	return row;
}

static __always_inline const struct address *self_address(const struct endpoint *row, _Bool ipv6,
							  struct address *copy)
{
	(void)copy;
	return ipv6 ? &row->ipv6 : &row->ipv4;
}

#else

/* Bytes in memory order: a MAC is the first six of eight, an IPv6 address two times eight. */
CONSTANT(__u32, self_interface, 0);
CONSTANT(__u32, self_ipv4, 0);
CONSTANT(__u64, self_ipv6_high, 0);
CONSTANT(__u64, self_ipv6_low, 0);
CONSTANT(__u64, self_container_mac, 0);
CONSTANT(__u64, self_host_mac, 0);

#if GENERATION == GENERATION_SYMBOLS
#define self_interface SYMBOL(self_interface)
#define self_ipv4 SYMBOL(self_ipv4)
#define self_ipv6_high SYMBOL(self_ipv6_high)
#define self_ipv6_low SYMBOL(self_ipv6_low)
#define self_container_mac SYMBOL(self_container_mac)
#define self_host_mac SYMBOL(self_host_mac)
#endif

/* A program of one endpoint drops what meets it at another's interface. */
static __always_inline struct endpoint *self_row(const context *skb)
{
	return skb->ifindex == self_interface ? endpoint_of_interface(self_interface) : (void *)0;
}

static __always_inline const struct address *self_address(const struct endpoint *row, _Bool ipv6,
							  struct address *copy)
{
	(void)row;
	if (ipv6) {
		__u64 high = self_ipv6_high, low = self_ipv6_low;

		copy->word[0] = high;
		copy->word[1] = high >> 32;
		copy->word[2] = low;
		copy->word[3] = low >> 32;
	} else {
		__be32 ipv4 = self_ipv4;

		copy->word[0] = 0;
		copy->word[1] = 0;
		copy->word[2] = ipv4 ? ADDRESS_MAPPED : 0;
		copy->word[3] = ipv4;
	}
	return copy;
}

static __always_inline const struct endpoint *self_facts(const struct endpoint *row, struct endpoint *copy)
{
	__u64 container_mac = self_container_mac, host_mac = self_host_mac;

	__builtin_memcpy(copy->container_mac, &container_mac, 6);
	__builtin_memcpy(copy->host_mac, &host_mac, 6);
	self_address(row, 0, &copy->ipv4);
	self_address(row, 1, &copy->ipv6);
	return copy;
}

#endif

#if GENERATION == GENERATION_RODATA
/* A variable that the programs keep by themselves: user space reads it from their .bss map. */
__u64 self_packets[DIRECTION_COUNT];
#endif

static __always_inline void self_count(__u32 direction)
{
#if GENERATION == GENERATION_RODATA
	__sync_fetch_and_add(&self_packets[direction], 1);
#else
	(void)direction;
#endif
}

#endif
