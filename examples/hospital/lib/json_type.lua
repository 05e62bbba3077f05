--- The media type of the gateway's own answers, spelled as the hospital's clients know it.
return "application/json; charset=utf-8"
