"""The application: configuration, graph, runs, HTTP and Serve hosting."""
