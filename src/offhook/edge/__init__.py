"""All I/O. The rooms are strangers to one another; `app` introduces them."""
