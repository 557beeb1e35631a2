module tocsin

go 1.24
