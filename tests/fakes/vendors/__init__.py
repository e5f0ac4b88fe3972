"""Speech services on this machine: each speaks a vendor's protocol as strictly as the vendor."""
