"""How does the model know where a token is?"""
