// Shows whether the API can be reached; the address bar is this page's own business.
fetch("/health").then((res) => res.json()).then((health) => {
  document.getElementById("page").textContent = "Hospital: " + health.status;
});
