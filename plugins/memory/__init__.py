"""Which extra or summarised key slots exist?"""
