std = "luajit"
max_line_length = 110
exclude_files = { "build*", "bench/lab" }
files["spec"] = { std = "+busted", max_line_length = 132 }
files["examples/**/spec"] = { std = "+busted" }
