/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who is behind an address, and which class the rule sets know them by. */
#ifndef KINETY_LIB_IDENTITY_H
#define KINETY_LIB_IDENTITY_H

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/address.h"

static __always_inline struct endpoint *endpoint_at(__u32 slot)
{
	return bpf_map_lookup_elem(&endpoints, &slot);
}

/* The row behind an interface; null when the index is outside the range of rows. */
static __always_inline struct endpoint *endpoint_of_interface(__u32 interface)
{
	return endpoint_at(interface - config_interface_base);
}

static __always_inline struct local_address *local_of_address(const struct address *address)
{
	return bpf_map_lookup_elem(&local_addresses, address);
}

/* The endpoint of this node that has an address, or null. */
static __always_inline struct endpoint *endpoint_of_address(const struct address *address)
{
	struct local_address *local = local_of_address(address);

	return local ? endpoint_at(local->slot) : (void *)0;
}

static __always_inline _Bool endpoint_is_ready(const struct endpoint *endpoint)
{
	return endpoint && (*(volatile __u32 *)&endpoint->flags & ENDPOINT_READY);
}

/* Who an endpoint is to others: its two addresses may be in different blocks that rules name. */
static __always_inline __u32 endpoint_identity(const struct endpoint *endpoint, _Bool ipv6)
{
	return endpoint->identity[ipv6 & 1];
}

static __always_inline __u32 identity_world(const struct address *address)
{
	return address_is_ipv4(address) ? IDENTITY_WORLD_IPV4 : IDENTITY_WORLD_IPV6;
}

/* Identity of an address that is no endpoint of this node. Global: see packet_parse. */
__noinline __u32 identity_of_address(const struct address *address)
{
	struct ipcache_prefix_key key;
	struct ipcache_entry *entry;

	if (!address)
		return IDENTITY_UNKNOWN;
	entry = bpf_map_lookup_elem(&ipcache_hosts, address);
	if (entry)
		return entry->identity;
	key.prefix_length = 8 * sizeof(*address);
	key.address = *address;
	entry = bpf_map_lookup_elem(&ipcache_prefixes, &key);
	if (entry)
		return entry->identity;
	return identity_world(address);
}

/* Never 0. Raised by user space after every change of the ipcache. */
static __always_inline __u32 identity_generation(void)
{
	__u32 row = 0;
	struct node_state *state = bpf_map_lookup_elem(&node_state, &row);

	return state ? *(volatile __u32 *)&state->ipcache_generation : 0;
}

static __always_inline __u32 identity_class(__u32 identity)
{
	__u32 *found = bpf_map_lookup_elem(&identity_classes, &identity);

	return found ? *found : 0;
}

#endif
