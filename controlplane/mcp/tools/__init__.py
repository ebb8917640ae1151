"""The tools, by what they are about. Each class takes the registry's client; its public methods are its tools."""
