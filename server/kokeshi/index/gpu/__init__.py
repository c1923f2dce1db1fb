"""Collections on GPUs: a form whose rows FAISS holds there in float16, and who may speak to it.

    gpus     which collections GPUs hold, and what is done when one is lost
    building sends rows, shard by shard
    form     asks for candidates and drops what may not be found
    owner    the one thread that speaks to a GPU, and its queue of
    jobs     what is asked of it
    device   the only code that calls FAISS's GPU classes, with
    cagra    graphs of cuVS
    probe    asks in other processes which GPUs work, and what of cuVS does
    trial    what is tried of cuVS there

What imports `tuning` may not be imported here: the limits are part of it.
"""
