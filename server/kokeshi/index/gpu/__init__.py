"""Collections on GPUs: a form whose rows FAISS holds there in float16, and who may speak to it."""
