"""One verb a module; transactions open here."""
