"""How does a query weigh the keys it may read?"""
