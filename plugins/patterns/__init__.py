"""Which keys may a query read?"""
