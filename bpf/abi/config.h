/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Facts of the node that do not change while a template is loaded. They live in a
 * frozen .rodata map, so the verifier turns them into constants and removes the code
 * a node does not use, and the loader does not create maps that only such code names.
 * Everything that changes at run time is a map instead.
 *
 * Before v6.8 the kernel verifies global functions that nobody calls, too: one that names a
 * map which a constant can drop asks that constant itself, beside its callers.
 */
#ifndef KINETY_ABI_CONFIG_H
#define KINETY_ABI_CONFIG_H

#include <linux/types.h>

#include "constant.h"
#include "contract_hash.h"

/* An endpoint's row is its host-side interface index minus this. */
CONSTANT(__u32, config_interface_base, 65536);
CONSTANT(__u32, config_ipv4, 1);
CONSTANT(__u32, config_ipv6, 1);
/* enum event_level. Without events, the maps events and lost_events are not used. */
CONSTANT(__u32, config_event_level, 1);
/* Whether filters of the node's operator are asked (lib/hook.h). */
CONSTANT(__u32, config_hooks, 1);
/* 0: shadow rule sets are not asked; shadow_counters, shadow_scratch, lost_shadows are not used. */
CONSTANT(__u32, config_shadow, 1);
/* 0: fragments are dropped; the map fragments is not used. */
CONSTANT(__u32, config_fragments, 1);
/* 0: endpoints have no bandwidth; the map rates is not used. */
CONSTANT(__u32, config_bandwidth, 1);
/* enum redirect. The maps listeners and proxy are used by some. */
CONSTANT(__u32, config_redirect, 1);
/* Proxies speak to servers from these ports, in the name of their clients. */
CONSTANT(__u32, config_proxy_source_first, 61000);
CONSTANT(__u32, config_proxy_source_last, 65535);
/* Idle times in seconds after which a flow is new again. */
CONSTANT(__u32, config_tcp_established, 21600);
CONSTANT(__u32, config_tcp_opening, 60);
CONSTANT(__u32, config_tcp_closing, 10);
CONSTANT(__u32, config_udp_idle, 60);
CONSTANT(__u32, config_udp_replied, 180);
CONSTANT(__u32, config_icmp_idle, 30);

#if GENERATION == GENERATION_SYMBOLS
#define config_interface_base SYMBOL(config_interface_base)
#define config_ipv4 SYMBOL(config_ipv4)
#define config_ipv6 SYMBOL(config_ipv6)
#define config_event_level SYMBOL(config_event_level)
#define config_hooks SYMBOL(config_hooks)
#define config_shadow SYMBOL(config_shadow)
#define config_fragments SYMBOL(config_fragments)
#define config_bandwidth SYMBOL(config_bandwidth)
#define config_redirect SYMBOL(config_redirect)
#define config_proxy_source_first SYMBOL(config_proxy_source_first)
#define config_proxy_source_last SYMBOL(config_proxy_source_last)
#define config_tcp_established SYMBOL(config_tcp_established)
#define config_tcp_opening SYMBOL(config_tcp_opening)
#define config_tcp_closing SYMBOL(config_tcp_closing)
#define config_udp_idle SYMBOL(config_udp_idle)
#define config_udp_replied SYMBOL(config_udp_replied)
#define config_icmp_idle SYMBOL(config_icmp_idle)
#endif

/*
 * Which contract an object was compiled with; the loader refuses another one. It has a
 * section of its own, which no program reads, so it becomes no map.
 */
const volatile __attribute__((section("contract"), used)) __u64 contract_hash = KINETY_CONTRACT_HASH;

#endif
