"""Answer the OpenAI images API: generations, edits and models, with the tools' batches and receipts."""
