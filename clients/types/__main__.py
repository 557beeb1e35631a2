"""``python -m clients.types``: makes the clients' types of the gateway's description anew."""

from clients.types.made import made

if __name__ == "__main__":
    for file, text in made().items():
        file.write_text(text)
        print(file)
