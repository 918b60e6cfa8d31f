"""What benchmarks share: how figures are told, where models are cut, the peers. Measures nothing by itself."""
