"""The commands of `greenlight`. Each module adds its parser and runs; what is heavy is imported when it runs."""
