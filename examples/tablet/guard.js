/**
 * Says in words why the page did not start.
 *
 * An ordinary script in old JavaScript: it has to run where modules, or newer words of the language, do not.
 */
(function () {
  var FROM_FILE =
    "A browser does not run this page from a file. Run 'python serve.py' in its folder, then open the address that it " +
    "prints. README.txt of the bundle says more.";
  var NOT_STARTED =
    "This browser is too old for this page, or a file of the folder is missing. Update the browser, or copy the whole " +
    "folder again.";

  function refuse(words) {
    if (document.body.getAttribute("data-state")) return;
    document.body.setAttribute("data-state", "refused");
    document.getElementById("opening").hidden = true;
    document.getElementById("problem").textContent = words;
    document.getElementById("problem").hidden = false;
  }

  if (location.protocol === "file:") refuse(FROM_FILE);
  else if (!("noModule" in document.createElement("script"))) refuse(NOT_STARTED);
  // A file that is absent is told to the element only, hence the capturing.
  window.addEventListener("error", function () { refuse(NOT_STARTED); }, true);
})();
