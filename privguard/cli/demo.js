// What the demo's bank adds to its CRM's front page: a button that shows in clear what came masked.
import { reveal } from "/_privguard/privguard.js";

const FIELDS = ["mobile", "email", "id_no", "address"];
const detail = document.getElementById("detail");
const button = document.createElement("button");
let opened;

button.id = "clear";
button.textContent = "Show in clear";
button.hidden = true;
detail.after(button);

addEventListener("opened", (event) => {
  opened = event.detail;
  button.hidden = detail.hidden;
});

button.addEventListener("click", async () => {
  const answer = await reveal(opened.path, FIELDS);
  const text = await answer.text();
  if (answer.ok) opened.put(text);
  else document.getElementById("message").textContent = JSON.parse(text).detail;
});
