"""Check what a caller asks for, and resolve it into the request that is sent."""
