--- Everything that is not the API is the page.
require("lib.page").serve("public")
