"""The command line: what was typed becomes settings and requests; what came back becomes tables or JSON."""
