"""The engine: conversations over MLS groups, kept true to the relay's log and to the vault.

`work` is one vault transaction's view; `receiving`, `sending`, `committing`, `founding`, `joining`,
`returning`, `records` are the steps, plain functions of it; `decisions` says when, as pure functions;
`engine`, `inflow`, `conversation_worker` are the asynchronous shell that moves frames.
"""
