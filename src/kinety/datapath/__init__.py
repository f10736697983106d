"""The part that makes the kernel hold the plan: maps, interfaces, links and the node's own settings.

Everything here is synchronous and expects one caller at a time, in the node's network namespace.
``Datapath`` is the door; each kernel object has one owner behind it:

=====================  ===========================================================================
module                 owns
=====================  ===========================================================================
``template``           programs, constants, and the maps as objects (loaded once, or adopted)
``endpoint_table``     rows of ``endpoints`` and the node-wide epoch
``address_maps``       ``local_addresses``, ``ipcache_hosts``, ``ipcache_prefixes``, generation
``identity_classes``   ``identity_classes``
``rule_sets``          ``rule_sets`` and its inner maps
``attachments``        endpoints from attach to detach, what to keep and remove at a start
``interface``          veth pairs, clsact filters, addresses, routes, neighbours
``promotion``          tcx links and their pins
``replacement``        other programs at many places: at all, or at none
``reload``             what a reload may change, and what it did
``node``               sysctls and the nftables table ``kinety``
``inspection``         loads the programs by themselves, to see what constants make of them
``observation``        reads ``events``, ``counters``, ``rule_counters``, ``conntrack``
``dump``               decodes any map
=====================  ===========================================================================

Layout of the pin directory (a directory of its own on a bpffs, ``Settings.pins``)::

    contract-HASH/           the contract that the maps below were made for
        maps/NAME            the maps of bpf/abi/maps.h that the programs use; inner maps live in rule_sets
        program-DIGEST/      DIGEST covers the object and the node constants
            from_endpoint    judges what leaves an endpoint
            to_endpoint      judges what enters one
        links/SLOT-ingress   tcx link on the host side's ingress: from_endpoint
        links/SLOT-egress    tcx link on the host side's egress: to_endpoint

Bpffs refuses names with dots, so there are none. Nothing else is kept on disk: which endpoint has
which slot, which rule set is where, and the epochs are read back from the maps. An inner map needs
no pin, and neither do constants: the maps and programs that use them keep them alive.
"""
