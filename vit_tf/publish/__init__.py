"""A bundle brought to where others find it: hubs, archives, folders."""
