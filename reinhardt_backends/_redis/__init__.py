"""``RedisBackend`` and the connection that its callers share.

The life of a call:

1. ``_backend``: a verb checks its arguments, encodes the value and names the command and its ``Kind``. The frequent
   commands are filled into a ``template`` (``_commands``); ``Client.call`` packs the others.
2. ``_client``: ``Client.send`` sets the *deadline* of the call, and finds the connection of the running loop
   (``_connections``: ``Node``, ``LoopConnections``, ``SharedConnection``) or of the thread (``_pool``).
3. ``_handshake.open_link`` connects if need be; ``_source.Source`` repeats that during an outage.
4. ``_link.Link.exchange`` begins, by appending bytes and a slot (``_mux.Mux.append``), and finishes: it writes, reads
   or parks (``_io``).
5. ``Mux.hand_out`` gives each reply to the oldest slot, and the verb decodes it.

- *Deadline*: the leader arms one timer for the earliest (``Link._lead``); ``Mux.expire`` ends the late calls.
- *Cancellation*: ``Mux.drop`` marks the slot; another task takes over (``Link._wake_next``).
- *A reply that arrives late*, to a call that was cancelled or expired: ``Mux.hand_out`` discards it.
- *Resending*: ``Client._persist`` repeats the exchange as far as ``_retry.History`` allows.
- *A connection that brings nothing*: ``Link._check`` judges it by ``_silence``, and it is given up and replaced.
- *A cluster*: ``_cluster.ClusterClient`` finds the node by the slot of the key (``_cluster_map.ClusterMap``).
  ``_cluster_call.ClusterCall`` knows what has become of each command of a call, and follows redirections.
"""

from __future__ import annotations

from ._backend import RedisBackend

__all__ = ["RedisBackend"]
