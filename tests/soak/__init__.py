"""`make soak`: an hour of typing with everything going wrong beside it. Begin with __main__.py."""
