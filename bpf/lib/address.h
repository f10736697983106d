/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Addresses: 16 bytes, IPv4 mapped. */
#ifndef KINETY_LIB_ADDRESS_H
#define KINETY_LIB_ADDRESS_H

#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/types.h"

#define ADDRESS_MAPPED bpf_htonl(0x0000ffff)

static __always_inline struct address address_from_ipv4(__be32 ipv4)
{
	return (struct address){ .word = { 0, 0, ADDRESS_MAPPED, ipv4 } };
}

static __always_inline _Bool address_is_ipv4(const struct address *address)
{
	return !(address->word[0] | address->word[1]) && address->word[2] == ADDRESS_MAPPED;
}

static __always_inline _Bool address_equal(const struct address *a, const struct address *b)
{
	return !((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) |
		 (a->word[2] ^ b->word[2]) | (a->word[3] ^ b->word[3]));
}

static __always_inline _Bool address_is_zero(const struct address *address)
{
	return !(address->word[0] | address->word[1] | address->word[2] | address->word[3]);
}

/* Any total order will do, as long as both directions of a flow see the same one. */
static __always_inline _Bool address_less(const struct address *a, const struct address *b)
{
	if (a->word[3] != b->word[3])
		return a->word[3] < b->word[3];
	if (a->word[2] != b->word[2])
		return a->word[2] < b->word[2];
	if (a->word[1] != b->word[1])
		return a->word[1] < b->word[1];
	return a->word[0] < b->word[0];
}

/* Multicast of either family, and the limited broadcast of IPv4. */
static __always_inline _Bool address_is_multicast(const struct address *address)
{
	if (address_is_ipv4(address))
		return (address->word[3] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) ||
		       address->word[3] == 0xffffffff;
	return (address->word[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/* 127.0.0.0/8. The kernel itself refuses ::1 from an interface (RFC 4291, 2.5.3). */
static __always_inline _Bool address_is_loopback(const struct address *address)
{
	return address_is_ipv4(address) && (address->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline _Bool address_is_loopback_ipv6(const struct address *address)
{
	return !(address->word[0] | address->word[1] | address->word[2]) && address->word[3] == bpf_htonl(1);
}

static __always_inline _Bool address_is_link_local(const struct address *address)
{
	return (address->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

#endif
