"""What a field is: classes come from the policy; discovery of personal data will live here."""
