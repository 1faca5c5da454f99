EXAMPLE = ""


def run(): ...
