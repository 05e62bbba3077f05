std = "luajit"
files["spec"] = { std = "+busted" }
