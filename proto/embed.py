#!/usr/bin/env python3
"""embed.py IN OUT NAME: writes OUT, a C file that holds the bytes of IN as the array NAME."""
import sys

source, target, name = sys.argv[1:]
with open(source, "rb") as file:
    data = file.read()
with open(target, "w", encoding="ascii") as file:
    file.write("#include <stddef.h>\n\n")
    file.write(f"extern const unsigned char {name}[];\nextern const size_t {name}_size;\n\n")
    file.write(f"const unsigned char {name}[] = {{\n")
    for at in range(0, len(data), 16):
        file.write("\t" + " ".join(f"0x{byte:02x}," for byte in data[at : at + 16]) + "\n")
    file.write(f"}};\nconst size_t {name}_size = sizeof({name});\n")
