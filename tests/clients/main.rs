//! Programs as people write them, with the official SDKs, LangChain and curl.
